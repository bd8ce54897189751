"""From a search's trials to finished models: who is fine-tuned, measured again, validated and saved."""
