"""Trained systems applied to other clips, or exported as ONNX."""
