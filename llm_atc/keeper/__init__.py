"""The program that keeps engine and relay together on a cloud machine, and ends them when nobody needs them.

    relay (the public port) → engine (loopback)        both are children of the keeper
    an engine that ends is started again; one that hangs is killed first; K starts that fail end the job
    no request for N minutes, the time or the money is over: the job ends, and SkyPilot stops the machine

Standard library only: it runs on a machine that has no other part of llm-atc but its relay.
"""
