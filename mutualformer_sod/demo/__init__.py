"""The page in a browser. Only `page` needs gradio; importing this package imports no torch."""
