"""The program beside an engine on a cloud machine that keeps weights and compiled code in the user's bucket.

    take   before the engine's first start: what an earlier machine put there comes to this disk
    put    once the engine is ready, at low priority: what is not there yet goes to the bucket

    PREFIX/weights/MODEL/COMMIT/ENGINE/        a commit's files, and last of all complete.json, their list
    PREFIX/compiled/ENGINE-VERSION/….tar.gz    one object, there as a whole or not at all

Whatever goes wrong is one warning in the log: the engine downloads and compiles as if there were no cache.
It travels with the keeper and the relay; boto3, which is in the engine's environment then, is all it needs.
"""
