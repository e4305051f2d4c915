"""The demo page in a browser. Only `page` needs gradio; this package imports no torch."""
