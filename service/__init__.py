"""The ranking service: candidates in, ranking out. Never imports torch, onnx or training."""
