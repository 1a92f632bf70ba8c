"""What a study costs, before anything runs (`make plan`): tokens, FLOPs, bytes, hours and jobs of each stage."""

from isogloss.sources.endpoint import leave_without_endpoint

leave_without_endpoint()
