"""What training and service both speak: schema, encoding, tasks, fusion and the bundle that carries them."""
