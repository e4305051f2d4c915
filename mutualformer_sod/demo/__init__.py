"""The demo page in a browser. Only `page` needs gradio."""
