"""What a user may say, each with its name, default, help and legal range. Knows no engine, command line or tensors."""
