"""The parts of tests/bench_gpu.py: what a GPU does with the stages at a model's true shape."""
