"""The index on Milvus: the same answers, by a service that grows past one machine."""
