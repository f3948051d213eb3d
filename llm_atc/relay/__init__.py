"""The relay: stands in front of an engine, checks the key, lets an allow-list of routes through, and counts.

    client → ClientConnection → judge (route, key, limits) → Exchange → Pool → EngineConnection → engine
                                                                 ↑
    client ← re-serialised head, body as it comes ←──────────────┘

It needs httptools, and takes uvloop where that is installed: nothing else. The folder runs on a machine that
has no other part of llm-atc but `access.py` and `errors.py`.
"""
