"""What a study costs, told before anything runs (`make plan`): tokens, FLOPs, bytes, hours and jobs of each stage."""
