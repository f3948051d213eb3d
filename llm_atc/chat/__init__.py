"""Talking to a model: a conversation, its answers as they stream in, and tools."""
