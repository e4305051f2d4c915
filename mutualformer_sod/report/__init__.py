"""Tables, curves, file formats and significance of an evaluation."""
