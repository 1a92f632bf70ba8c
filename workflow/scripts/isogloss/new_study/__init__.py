"""A commented study file for a model and languages (`make study`)."""

from isogloss.sources.endpoint import leave_without_endpoint

leave_without_endpoint()
