"""What is near what? Word vectors and the encoders of queries and documents."""
