"""The use case: no HTTP, no ONNX Runtime, no store."""
