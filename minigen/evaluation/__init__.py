"""What trained models are judged by: metrics, reports, pictures."""
