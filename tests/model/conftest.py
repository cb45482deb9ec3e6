"""Test kernels on two threads."""

from tests.two_threads import two_threads as two_threads
