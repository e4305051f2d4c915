"""Parts that servers share (access, limits), and the HTTP service; only `app` needs fastapi."""
