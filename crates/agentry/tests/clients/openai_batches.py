"""Sends a batch with the official OpenAI client. The scripted answers are those of tests/it/support.rs."""

import io
import json
import sys
import time

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=20)
passed = 0


def step(name, holds):
    global passed
    assert holds, name
    passed += 1
    print("passed:", name)


def request(custom_id, model, text):
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}


def upload(*requests):
    lines = "".join(json.dumps(line) + "\n" for line in requests)
    return client.files.create(file=("in.jsonl", io.BytesIO(lines.encode())), purpose="batch")


file = upload(request("one", "fast", "hello"), request("two", "fast", "hello there"))
step("sends a file", file.purpose == "batch" and file.filename == "in.jsonl")
step("lists files", [one.id for one in client.files.list(purpose="batch")] == [file.id])
batch = client.batches.create(
    input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"job": "test"}
)
step("makes a batch", batch.status in ("in_progress", "completed") and batch.metadata == {"job": "test"})
deadline = time.monotonic() + 20
while batch.status != "completed":
    assert time.monotonic() < deadline, batch
    time.sleep(0.1)
    batch = client.batches.retrieve(batch.id)
step("sees it completed", batch.request_counts.completed == 2 and batch.error_file_id is None)
lines = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
texts = {line["custom_id"]: line["response"]["body"]["choices"][0]["message"]["content"] for line in lines}
step("fetches the answers", texts == {"one": "Hello to you.", "two": "Hello to you."})
bad = upload(request("one", "fast", "hello"), request("two", "nobody", "hello"))
try:
    client.batches.create(input_file_id=bad.id, endpoint="/v1/chat/completions", completion_window="24h")
    step("is told what is wrong", False)
except openai.BadRequestError as error:
    step("is told what is wrong", error.code == "batch_invalid" and "line 2" in str(error))
step("deletes a file", client.files.delete(bad.id).deleted)
print(f"all {passed} steps passed")
