"""A trained study looks at other clips, and leaves as ONNX."""
