"""The page in a browser, served by ``tools/demo.py``.

Uploads are checked (`checks`), mapped (`service`) and shown (`page`); `access` refuses foreign
requests, `scratch` keeps the folder of files small. Only `page` needs gradio. Importing this
package imports neither gradio nor torch.
"""
