"""Tables, curves, published scores and significance of an evaluation."""
