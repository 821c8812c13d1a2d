"""What models are made of: encoders, decoders, denoisers, the players of games, labels."""
