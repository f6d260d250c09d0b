"""Compare an export with the rows of the table, given as JSON lines on stdin."""
import gzip
import json
import sys


def capped(convo):
    """Leave out the contexts that the export leaves out."""
    if isinstance(convo, dict) and isinstance(convo.get("messages"), list):
        for message in convo["messages"]:
            if isinstance(message, dict) and message.get("role") == "assistant":
                if isinstance(message.get("contexts"), list):
                    del message["contexts"][80:]
    return convo


with gzip.open(sys.argv[1], "rt", encoding="utf-8") as f:
    exported = [json.loads(line) for line in f]
stored = [json.loads(line) for line in sys.stdin]
if len(exported) != len(stored):
    sys.exit(f"{len(exported)} rows exported, {len(stored)} stored")
for got, (id_, convo_id, course, email, convo) in zip(exported, stored):
    want = capped(json.loads(convo)) if convo is not None else None
    if (got["id"], got["convo_id"], got["course_name"], got["user_email"], got["convo"]) != (id_, convo_id, course, email, want):
        sys.exit(f"row {id_} differs")
