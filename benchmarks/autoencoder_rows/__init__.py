"""The rows of the autoencoders' table: what each trains, measures against its baseline, and draws."""
