"""What an operator asks first: will it serve here, on what, and what should be mended."""
