"""What a study costs, before anything runs (`make plan`): tokens, FLOPs, bytes, hours and jobs of each stage."""
