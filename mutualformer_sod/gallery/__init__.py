"""Pages and figures that show maps beside their scores."""
