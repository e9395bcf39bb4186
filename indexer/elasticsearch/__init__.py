"""Elasticsearch: candidates of an index that rankwell builds, or of one that the user has."""
