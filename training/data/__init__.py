"""Raw data to prepared datasets, and prepared datasets to batches."""
