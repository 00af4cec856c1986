"""The official Anthropic client for Python over every upstream."""

import anthropic
from steps import BASE, KEY, PIXEL, UPSTREAMS, finish, raises, same, step

client = anthropic.Anthropic(base_url=BASE, api_key=KEY, max_retries=0, timeout=20)
HELLO = [{"role": "user", "content": "hello"}]
ASK = [{"role": "user", "content": "How is the weather in Paris, and what time is it?"}]


def tool(name, field):
    return {"name": name, "description": f"by {field}", "input_schema": {"type": "object", "properties": {field: {"type": "string"}}, "required": [field]}}


TOOLS = [tool("get_weather", "city"), tool("get_time", "zone")]
CALLS = [("get_weather", {"city": "Paris"}), ("get_time", {"zone": "Europe/Paris"})]


def called(message):
    return [(block.name, block.input) for block in message.content if block.type == "tool_use"]


def text(message):
    return "".join(block.text for block in message.content if block.type == "text")


def turns(message):
    """What was said so far, and what the tools say."""
    calls = [block for block in message.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": said} for call, said in zip(calls, ["rain", "noon"])]
    return ASK + [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]


def messages(upstream):
    def ask(scenario, **fields):
        fields = {"messages": HELLO, "max_tokens": 100, **fields}
        return client.messages.create(model=f"{upstream}-{scenario}", **fields)

    def stream(scenario, **fields):
        fields = {"messages": HELLO, "max_tokens": 100, **fields}
        return client.messages.stream(model=f"{upstream}-{scenario}", **fields)

    @step(f"{upstream}: a whole answer")
    def _():
        answer = ask("hello", system="Be brief.", metadata={"user_id": "u1"})
        same((text(answer), answer.stop_reason, answer.role, answer.type), ("Hello to you.", "end_turn", "assistant", "message"))
        return same((answer.usage.input_tokens, answer.usage.output_tokens), (10, 5))

    @step(f"{upstream}: a stream")
    def _():
        with stream("hello-stream") as events:
            same("".join(events.text_stream), "Hello to you.")
            answer = events.get_final_message()
        same((answer.stop_reason, text(answer)), ("end_turn", "Hello to you."))
        return same((answer.usage.input_tokens, answer.usage.output_tokens), (10, 5))

    @step(f"{upstream}: the events of a stream in their order")
    def _():
        kinds = [event.type for event in ask("hello-stream", stream=True)]
        same((kinds[0], kinds[-2:]), ("message_start", ["message_delta", "message_stop"]))
        return same(kinds.count("content_block_start"), kinds.count("content_block_stop"))

    @step(f"{upstream}: two tools at once, and on with their answers")
    def _():
        answer = ask("tools", messages=ASK, tools=TOOLS)
        same((called(answer), answer.stop_reason), (CALLS, "tool_use"))
        last = ask("tools", messages=turns(answer), tools=TOOLS)
        return same(text(last), "It rains in Paris.")

    @step(f"{upstream}: arguments that arrive in fragments")
    def _():
        with stream("tools-stream", messages=ASK, tools=TOOLS) as events:
            fragments = [event.partial_json for event in events if event.type == "input_json"]
            answer = events.get_final_message()
        same((called(answer), answer.stop_reason), (CALLS, "tool_use"))
        assert fragments, "no fragment was told"
        with stream("tools-stream", messages=turns(answer), tools=TOOLS) as events:
            return same(text(events.get_final_message()), "It rains in Paris.")

    @step(f"{upstream}: thoughts that come back with the next turn")
    def _():
        thinking = {"type": "enabled", "budget_tokens": 1024}
        answer = ask("think", messages=ASK, tools=TOOLS, thinking=thinking, max_tokens=4096)
        same([block.thinking for block in answer.content if block.type == "thinking"], ["Where is Paris?"])
        same(called(answer), CALLS[:1])
        last = ask("think", messages=turns(answer), tools=TOOLS, thinking=thinking, max_tokens=4096)
        return same(text(last), "It rains in Paris.")

    @step(f"{upstream}: streamed thoughts that come back with the next turn")
    def _():
        thinking = {"type": "enabled", "budget_tokens": 1024}
        with stream("think-stream", messages=ASK, tools=TOOLS, thinking=thinking, max_tokens=4096) as events:
            answer = events.get_final_message()
        same([block.thinking for block in answer.content if block.type == "thinking"], ["Where is Paris?"])
        with stream("think-stream", messages=turns(answer), tools=TOOLS, thinking=thinking, max_tokens=4096) as events:
            return same(text(events.get_final_message()), "It rains in Paris.")

    @step(f"{upstream}: an image")
    def _():
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
        content = [image, {"type": "text", "text": "What is this?"}]
        return same(text(ask("image", messages=[{"role": "user", "content": content}])), "Hello to you.")

    @step(f"{upstream}: what the vendor does not take is a bad request")
    def _():
        error = raises(anthropic.BadRequestError, lambda: ask("e400"))
        return same((error.body["type"], error.body["error"]["type"], "the vendor says 400" in error.message), ("error", "invalid_request_error", True))

    @step(f"{upstream}: the vendor's limit, and when to come again")
    def _():
        error = raises(anthropic.RateLimitError, lambda: ask("e429"))
        return same((error.response.headers["retry-after"], error.body["error"]["type"]), ("7", "rate_limit_error"))

    @step(f"{upstream}: our key at the vendor is not the caller's")
    def _():
        error = raises(anthropic.InternalServerError, lambda: ask("e401"))
        return same((error.status_code, error.body["error"]["type"]), (502, "api_error"))

    @step(f"{upstream}: a stream that was cut is an error")
    def _():
        error = raises(anthropic.APIStatusError, lambda: list(ask("cut", stream=True)))
        return same(error.body["type"], "error")

    @step(f"{upstream}: a caller that leaves in the middle")
    def _():
        with stream("hang") as events:
            return same(next(iter(events.text_stream)), "Hello ")


@step("a model that there is not")
def _():
    error = raises(anthropic.NotFoundError, lambda: client.messages.create(model="claude-9", max_tokens=5, messages=HELLO))
    return same(error.body["error"]["type"], "not_found_error")


@step("a key that nobody has")
def _():
    stranger = client.with_options(api_key="wrong")
    error = raises(anthropic.AuthenticationError, lambda: stranger.messages.create(model="chat-hello", max_tokens=5, messages=HELLO))
    return same(error.body["error"]["type"], "authentication_error")


@step("a parameter that makes no sense")
def _():
    error = raises(anthropic.BadRequestError, lambda: client.messages.create(model="chat-hello", max_tokens=5, messages=[]))
    return same("messages" in error.message, True)


for upstream in UPSTREAMS:
    messages(upstream)
finish()
