"""Adam with the weights of a dense step, for batches that touch few latents.

A TopK step of 32 samples touches at most 32 k of 16,000 latents, but Adam also moves the other rows: their moments
decay, and every step adds a smaller update. A row without a gradient since step s has, at step t, the moments
beta1^(t - s) m and beta2^(t - s) v. So they need not be written at every step, and a decoder row need not even be read
before a sample uses it. The weights are those of a dense step, up to the rounding of the powers.
"""

import numpy as np
from numba import njit

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
LONGEST = 250
"""Steps without a gradient after which a row stands still: .9^250 = 4e-12 of an update is below float32's rounding."""
_MATH = {"contract", "reassoc", "nsz"}


@njit(fastmath=_MATH, error_model="numpy", cache=True)
def drift(w, m, v, since, step, lr):
    """Move a row (w) by its updates without a gradient in the steps ``since`` + 1 to ``step``, at a constant rate."""
    for i in range(1, min(step - since, LONGEST) + 1):
        n = since + i
        rate = np.float32(lr * BETA1**i / (1 - BETA1**n))
        root = np.float32(np.sqrt(BETA2**i / (1 - BETA2**n)))
        eps = np.float32(EPS)
        for d in range(len(w)):
            w[d] -= rate * m[d] / (root * np.sqrt(v[d]) + eps)


@njit(fastmath=_MATH, error_model="numpy", cache=True)
def descend(w, m, v, g, since, step, lr, clip):
    """Take Adam's step number ``step`` along the gradient clip * g; the moments are those of step ``since``."""
    decay1, decay2 = np.float32(BETA1 ** (step - since)), np.float32(BETA2 ** (step - since))
    rate, root = np.float32(lr / (1 - BETA1**step)), np.float32(1 / np.sqrt(1 - BETA2**step))
    new1, new2, eps, scale = np.float32(1 - BETA1), np.float32(1 - BETA2), np.float32(EPS), np.float32(clip)
    for d in range(len(w)):
        one = scale * g[d]
        m[d] = decay1 * m[d] + new1 * one
        v[d] = decay2 * v[d] + new2 * one * one
        w[d] -= rate * m[d] / (root * np.sqrt(v[d]) + eps)


@njit(fastmath=_MATH, error_model="numpy", cache=True)
def descend_rows(W, M, V, G, step, lr, clip):
    """Take a dense step on a block of rows, all of which have a gradient."""
    for q in range(len(W)):
        descend(W[q], M[q], V[q], G[q], step - 1, step, lr, clip)


@njit(fastmath=_MATH, error_model="numpy", cache=True)
def settle(W, M, V, since, step, lr):
    """Bring all rows to the step ``step``."""
    for q in range(len(W)):
        if since[q] and since[q] < step:
            drift(W[q], M[q], V[q], since[q], step, lr)
            decay1, decay2 = np.float32(BETA1 ** (step - since[q])), np.float32(BETA2 ** (step - since[q]))
            for d in range(W.shape[1]):
                M[q, d] *= decay1
                V[q, d] *= decay2
            since[q] = step


@njit(fastmath=_MATH, error_model="numpy", cache=True)
def sparse_gradients(
    X, Y, columns, values, W_enc, W_dec, M_dec, V_dec, b_dec, since_dec, step, lr, l1, slots, G_enc, G_dec, g_b, active,
    A_enc, A_dec, weight,
):  # fmt: skip
    """Decode B samples and differentiate the mean squared error plus l1 times the sum of latents.

    The loss also has ``weight`` times the squared distance of the first rows of ``W_enc`` and ``W_dec`` to the anchors
    ``A_enc`` and ``A_dec``, and these latents count as active. Returns the number of active latents; the gradient of
    the decoder's bias; the squared norm of all gradients; the mean squared error. The active latents are listed in
    ``active``, and their gradients are the first rows of ``G_enc``, ``G_dec`` and ``g_b``. All of ``slots`` (n_q) must
    be -1. Active decoder rows are brought to the step before ``step``.
    """
    B, k = columns.shape
    P, R = X.shape[1], Y.shape[1]
    n = len(A_enc)
    for c in range(n):
        slots[c] = c
        active[c] = c
        G_enc[c] = 2 * weight * (W_enc[c] - A_enc[c])
        G_dec[c] = 2 * weight * (W_dec[c] - A_dec[c])
        g_b[c] = 0
    for b in range(B):
        for i in range(k):
            c = columns[b, i]
            if values[b, i] > 0 and slots[c] < 0:
                slots[c] = n
                active[n] = c
                G_enc[n] = 0
                G_dec[n] = 0
                g_b[n] = 0
                n += 1
                if since_dec[c] and since_dec[c] < step - 1:
                    drift(W_dec[c], M_dec[c], V_dec[c], since_dec[c], step - 1, lr)
    g_bias = np.zeros(R, np.float32)
    residual = np.empty(R, np.float32)
    error = 0.0
    scale = np.float32(2 / (B * R))
    for b in range(B):
        residual[:] = b_dec - Y[b]
        for i in range(k):
            z = values[b, i]
            if z > 0:
                row = W_dec[columns[b, i]]
                for d in range(R):
                    residual[d] += z * row[d]
        for d in range(R):
            error += residual[d] * residual[d]
            residual[d] *= scale
            g_bias[d] += residual[d]
        for i in range(k):
            z = values[b, i]
            if z > 0:
                c = columns[b, i]
                s = slots[c]
                row, to_dec = W_dec[c], G_dec[s]
                along = np.float32(0)
                for d in range(R):
                    along += residual[d] * row[d]
                    to_dec[d] += z * residual[d]
                along += np.float32(l1)
                x, to_enc = X[b], G_enc[s]
                for d in range(P):
                    to_enc[d] += along * x[d]
                g_b[s] += along
    square = 0.0
    for s in range(n):
        square += g_b[s] * g_b[s]
        part = np.float32(0)
        for d in range(P):
            part += G_enc[s, d] * G_enc[s, d]
        for d in range(R):
            part += G_dec[s, d] * G_dec[s, d]
        square += part
    for d in range(R):
        square += g_bias[d] * g_bias[d]
    return n, g_bias, square, error / (B * R)


@njit(fastmath=_MATH, error_model="numpy", cache=True)
def sparse_descend(
    W_enc, M_enc, V_enc, since_enc, W_dec, M_dec, V_dec, since_dec, slots, active, n, G_enc, G_dec, step, lr, clip
):
    """Take Adam's step with the active decoder rows and all encoder rows, which the next product reads."""
    eps = np.float32(EPS)
    for q in range(len(W_enc)):
        s, since = slots[q], since_enc[q]
        if s >= 0:
            descend(W_enc[q], M_enc[q], V_enc[q], G_enc[s], since, step, lr, clip)
            since_enc[q] = step
        elif since and step - since <= LONGEST:
            rate = np.float32(lr * BETA1 ** (step - since) / (1 - BETA1**step))
            root = np.float32(np.sqrt(BETA2 ** (step - since) / (1 - BETA2**step)))
            w, m, v = W_enc[q], M_enc[q], V_enc[q]
            for d in range(len(w)):
                w[d] -= rate * m[d] / (root * np.sqrt(v[d]) + eps)
    for s in range(n):
        q = active[s]
        descend(W_dec[q], M_dec[q], V_dec[q], G_dec[s], since_dec[q], step, lr, clip)
        since_dec[q] = step
        slots[q] = -1
