"""The HTTP service, and the parts that the demo also uses; `app` and `forms` need fastapi."""
