"""Test the GPU kernels, on a GPU or else with Triton's interpreter: `make gpu-test`. Arguments go to pytest."""

import sys

import pytest

TESTS = (
    "tests/sparse/test_triton_kernels.py",
    "tests/sparse/test_kernels.py",
    "tests/training/test_read_ahead.py",
    "tests/test_device.py",
)

if __name__ == "__main__":
    sys.exit(pytest.main(["-m", "kernels or not kernels", *TESTS, *sys.argv[1:]]))
