"""Which candidate answers best? Fusion, features, the deep ranker and its training."""
