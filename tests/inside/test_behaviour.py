"""Gradients of a tiny Llama's predictions with respect to a dictionary in it, beside plain dense autograd."""

import pytest
import torch

import sdlcore as sdl
from sdlcore.inside.behaviour import LanguageBehaviour, frozen
from sdlcore.inside.hooks import sites_of
from sdlcore.inside.reader import reader_of
from sdlcore.sources.language.checkpoints import load_whole
from sdlcore.training.normalisation import Normalisation
from tests.sources.language.tiny_llama import SIZES, documents, save_tiny_llama

D, T, LAYER, K = SIZES["hidden_size"], 16, 2, 4
SCALING = Normalisation(*(torch.linspace(-1, 1, D), torch.full((D,), 2.0)) * 2, torch.ones(()))


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    return load_whole(save_tiny_llama(tmp_path_factory.mktemp("tiny")))


def behaviour_of(lm, objective="kl", share=1.0, **options):
    reader = reader_of(lm, documents(60), torch.device("cpu"), None, T, 3, **options)
    site = sites_of(sdl.SparseCoder(D, n_q=4).eval(), reader.stack, LAYER)
    behaviour = LanguageBehaviour(reader, site["input"], site["input"], reader.kinds(site), SCALING, objective, share)
    return behaviour, reader


def dense(coder, x):
    """Return the reconstruction of a TopK autoencoder by its formula, with autograd's own gradients."""
    pre = x @ coder.W_enc.T + coder.b_enc
    values, places = pre.topk(K)
    return torch.zeros_like(pre).scatter(1, places, values.relu()) @ coder.W_dec + coder.b_dec


@pytest.mark.parametrize("objective", ["kl", "cross_entropy"])
def test_gradients_are_those_of_plain_dense_autograd(objective, lm):
    coder = sdl.SparseCoder(D, n_q=40, activation="topk", k=K, bias=True)
    behaviour, reader = behaviour_of(lm, objective)
    with frozen(lm):
        x_p, x_r = behaviour.batch(0)
        assert x_r is x_p
        x, _ = SCALING(x_p, x_p)
        loss, terms = behaviour.behaviour_loss(coder(x).x_hat, torch.tensor(3.0))
        terms[objective].backward()
    gradients = {name: parameter.grad.clone() for name, parameter in coder.named_parameters()}
    # the loss has the value of the error, if the objective is the divergence
    assert float(loss) == pytest.approx(3.0 * float(terms[objective] / terms["kl"]), rel=1e-6)

    coder.zero_grad()
    ids = torch.stack([torch.from_numpy(context.token).long() for context in reader.contexts(3)])
    clean = lm(ids).logits[:, :-1].detach()
    first = torch.arange(T).expand(ids.shape) == 0
    spliced_tokens = ~first & (ids != reader.text.separator)
    # outliers in norm are the loud word; the reader's rule is tested elsewhere
    norms = lm(ids, output_hidden_states=True).hidden_states[LAYER].norm(dim=-1)
    spliced_tokens &= norms <= reader.kinds(sites_of(coder.eval(), reader.stack, LAYER)).largest_norm["input"]

    def put(_, __, output):
        changed = output.clone()
        normalised, _ = SCALING(output[spliced_tokens], output[spliced_tokens])
        changed[spliced_tokens] = SCALING.raw(dense(coder, normalised))
        return changed

    handle = lm.model.layers[LAYER - 1].register_forward_hook(put)
    spliced = lm(ids).logits[:, :-1]
    handle.remove()
    if objective == "kl":
        log_p, log_q = clean.log_softmax(-1), spliced.log_softmax(-1)
        expected = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
    else:
        expected = torch.nn.functional.cross_entropy(spliced.flatten(0, 1), ids[:, 1:].flatten())
    expected.backward()
    assert float(terms[objective]) == pytest.approx(float(expected), rel=1e-4)
    for name, parameter in coder.named_parameters():
        # float32 through two blocks: each number is a sum of some hundred products, in another order, of relative
        # error 2^-24 each; sums that cancel keep the error of their largest summands
        largest = float(parameter.grad.abs().max())
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-3, atol=1e-4 * largest)
        assert gradients[name].any(), name
    assert all(parameter.requires_grad for parameter in lm.parameters())


def test_dropped_tokens_keep_their_activations(lm):
    behaviour, reader = behaviour_of(lm)
    x_p, _ = behaviour.batch(0)
    ids = torch.stack([torch.from_numpy(context.token) for context in reader.contexts(3)])
    clean, spliced = [], []
    site = lm.model.layers[LAYER]
    for inputs, run in (
        (clean, lambda: lm(ids)),
        (spliced, lambda: behaviour.behaviour_loss(torch.zeros_like(x_p), x_p.sum())),
    ):
        handle = site.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0].detach().clone()))
        run()
        handle.remove()
    changed = (spliced[0] != clean[0]).any(-1)
    assert int(changed.sum()) == len(x_p) < ids.numel()
    assert not changed[:, 0].any()
    # normalised zero is the mean
    torch.testing.assert_close(spliced[0][changed], SCALING.mean_r.expand(len(x_p), -1))
    torch.testing.assert_close(clean[0][changed], x_p)


def test_contexts_come_in_order_begin_again_at_the_end_and_can_be_skipped(lm):
    behaviour, reader = behaviour_of(lm, share=0.0)
    number = len(list(reader.contexts(None)))
    batches = [behaviour.batch(step)[0] for step in range(number // 3 + 2)]
    skipping, _ = behaviour_of(lm, share=0.0)
    assert torch.equal(skipping.batch(4)[0], batches[4])
    assert torch.equal(skipping.batch(5)[0], batches[5])
    if number % 3 == 0:
        assert torch.equal(batches[number // 3], batches[0])
    assert not torch.equal(batches[1], batches[0])


def test_a_model_keeps_its_modes_and_which_weights_are_trained(lm):
    lm.train()
    lm.lm_head.weight.requires_grad_(False)
    with frozen(lm):
        assert not lm.training
        assert not any(parameter.requires_grad for parameter in lm.parameters())
    assert lm.training
    assert not lm.lm_head.weight.requires_grad
    assert lm.model.embed_tokens.weight.requires_grad or lm.model.embed_tokens.weight is lm.lm_head.weight
    lm.lm_head.weight.requires_grad_(True)
    lm.eval()
