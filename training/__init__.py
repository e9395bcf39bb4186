"""How does a model train? Loops, early stopping and reproducibility; knows no model."""
