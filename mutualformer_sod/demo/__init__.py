"""A page to try the network on: what ``tools/demo.py`` serves.

Uploaded files -> checks (`limits`) -> maps and pictures (`service`) -> page (`page`); all files lie
in one folder that is kept small (`scratch`). Only `page` needs gradio. Importing this imports
neither gradio nor torch.
"""
