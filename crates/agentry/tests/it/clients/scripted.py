"""The official OpenAI client over a provider that answers from a script: that of tests/it/support.rs."""

import json
import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="none", max_retries=0, timeout=20)
passed = 0


def step(name, holds):
    global passed
    assert holds, name
    passed += 1
    print("passed:", name)


def say(text):
    return [{"role": "user", "content": text}]


# Models.
names = [model.id for model in client.models.list()]
step("lists models", names == ["fast", "default"])
step("shows one model", client.models.retrieve("fast").id == "fast")

# A whole answer.
whole = client.chat.completions.create(model="fast", messages=say("hello"))
step(
    "chats",
    whole.choices[0].message.content == "Hello to you."
    and whole.choices[0].finish_reason == "stop"
    and whole.usage.total_tokens == 15
    and whole.object == "chat.completion",
)
raw = client.chat.completions.with_raw_response.create(model="fast", messages=say("hello"))
step(
    "says who answered and at what cost",
    raw.headers["x-agentry-target"] == "script/tortoise"
    and raw.headers["x-agentry-attempts"] == "1"
    and float(raw.headers["x-agentry-cost-usd"]) == 0.00002
    and raw.headers["x-request-id"] == raw.parse()._request_id,
)

# A streamed answer, with its usage at the end.
stream = client.chat.completions.create(
    model="fast", messages=say("hello"), stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
step(
    "streams",
    text == "Hello to you."
    and chunks[-1].choices == []
    and chunks[-1].usage.total_tokens == 15
    and len({c.id for c in chunks}) == 1,
)

# A tool: asked for, called, answered.
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
]
messages = say("How is the weather?")
turn = client.chat.completions.create(model="fast", messages=messages, tools=tools).choices[0]
call = turn.message.tool_calls[0]
step(
    "asks for a tool",
    turn.finish_reason == "tool_calls"
    and call.function.name == "get_weather"
    and json.loads(call.function.arguments) == {"city": "Paris"},
)
messages += [turn.message, {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
turn = client.chat.completions.create(model="fast", messages=messages, tools=tools).choices[0]
step("goes on with its answer", turn.message.content == "It rains in Paris.")

# Errors are typed.
try:
    client.chat.completions.create(model="gpt-9", messages=say("hello"))
    step("does not know every model", False)
except openai.NotFoundError as error:
    step(
        "does not know every model",
        error.code == "model_not_found" and error.param == "model" and "fast" in error.message,
    )
try:
    for _ in client.chat.completions.create(model="fast", messages=say("break"), stream=True):
        pass
    step("a broken stream is an error", False)
except openai.APIError as error:
    step("a broken stream is an error", "broke off" in error.message)

print(f"{passed} of {passed} steps")
