"""The official OpenAI client for Python over every upstream."""

import json

import openai
from pydantic import BaseModel
from steps import BASE, KEY, PIXEL, UPSTREAMS, finish, raises, same, step

client = openai.OpenAI(base_url=f"{BASE}/v1", api_key=KEY, max_retries=0, timeout=20)
HELLO = [{"role": "user", "content": "hello"}]
ASK = [{"role": "user", "content": "How is the weather in Paris, and what time is it?"}]


class Weather(BaseModel):
    city: str
    rain: bool


def function(name, field):
    schema = {"type": "object", "properties": {field: {"type": "string"}}, "required": [field], "additionalProperties": False}
    return {"name": name, "description": f"by {field}", "parameters": schema}


TOOLS = [{"type": "function", "function": function("get_weather", "city")}, {"type": "function", "function": function("get_time", "zone")}]
CALLS = [("get_weather", {"city": "Paris"}), ("get_time", {"zone": "Europe/Paris"})]


def called(calls):
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def answers(message):
    """The message that calls, and what the tools say."""
    results = ["rain", "noon"]
    return [message] + [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in zip(message.tool_calls, results)]


def chat(upstream):
    model = lambda scenario: f"{upstream}-{scenario}"
    create = client.chat.completions.create

    @step(f"{upstream}: a whole answer")
    def _():
        answer = create(model=model("hello"), messages=HELLO, max_tokens=50, temperature=0.5)
        same(answer.choices[0].message.content, "Hello to you.")
        same(answer.choices[0].finish_reason, "stop")
        same((answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens), (10, 5, 15))
        return same((answer.object, answer.choices[0].message.role), ("chat.completion", "assistant"))

    @step(f"{upstream}: a word to stop at")
    def _():
        if upstream != "responses":
            return same(create(model=model("hello"), messages=HELLO, stop=["END"]).choices[0].finish_reason, "stop")
        error = raises(openai.BadRequestError, lambda: create(model=model("hello"), messages=HELLO, stop=["END"]))
        return same(error.param, "stop")

    @step(f"{upstream}: a stream")
    def _():
        chunks = list(create(model=model("hello-stream"), messages=HELLO, stream=True))
        same("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), "Hello to you.")
        same([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
        same(len({c.id for c in chunks}), 1)
        return same([c.usage for c in chunks if c.usage], [])

    @step(f"{upstream}: a stream with its bill")
    def _():
        chunks = list(create(model=model("hello-stream"), messages=HELLO, stream=True, stream_options={"include_usage": True}))
        same(chunks[-1].choices, [])
        return same((chunks[-1].usage.prompt_tokens, chunks[-1].usage.total_tokens), (10, 15))

    @step(f"{upstream}: two tools at once, and on with their answers")
    def _():
        turn = create(model=model("tools"), messages=ASK, tools=TOOLS, tool_choice="auto").choices[0]
        same(turn.finish_reason, "tool_calls")
        same(called(turn.message.tool_calls), CALLS)
        same(len({call.id for call in turn.message.tool_calls}), 2)
        last = create(model=model("tools"), messages=ASK + answers(turn.message), tools=TOOLS)
        return same(last.choices[0].message.content, "It rains in Paris.")

    @step(f"{upstream}: arguments that arrive in fragments")
    def _():
        with client.chat.completions.stream(model=model("tools-stream"), messages=ASK, tools=TOOLS) as stream:
            fragments = [event.arguments_delta for event in stream if event.type == "tool_calls.function.arguments.delta"]
            message = stream.get_final_completion().choices[0].message
        same(called(message.tool_calls), CALLS)
        assert fragments, "no fragment was told"
        with client.chat.completions.stream(model=model("tools-stream"), messages=ASK + answers(message), tools=TOOLS) as stream:
            return same(stream.get_final_completion().choices[0].message.content, "It rains in Paris.")

    @step(f"{upstream}: an answer of a given form")
    def _():
        answer = client.chat.completions.parse(model=model("json"), messages=ASK, response_format=Weather)
        return same(answer.choices[0].message.parsed, Weather(city="Paris", rain=True))

    @step(f"{upstream}: a streamed answer of a given form")
    def _():
        with client.chat.completions.stream(model=model("json-stream"), messages=ASK, response_format=Weather) as stream:
            for _ in stream:
                pass
            return same(stream.get_final_completion().choices[0].message.parsed, Weather(city="Paris", rain=True))

    @step(f"{upstream}: an image")
    def _():
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}]
        answer = create(model=model("image"), messages=[{"role": "user", "content": content}])
        return same(answer.choices[0].message.content, "Hello to you.")

    @step(f"{upstream}: what the vendor does not take is a bad request")
    def _():
        error = raises(openai.BadRequestError, lambda: create(model=model("e400"), messages=HELLO))
        return same(("the vendor says 400" in error.message, error.status_code, error.type), (True, 400, "invalid_request_error"))

    @step(f"{upstream}: the vendor's limit, and when to come again")
    def _():
        error = raises(openai.RateLimitError, lambda: create(model=model("e429"), messages=HELLO))
        return same((error.response.headers["retry-after"], error.type, error.code), ("7", "rate_limit_error", "model_rate_limited"))

    @step(f"{upstream}: our key at the vendor is not the caller's")
    def _():
        error = raises(openai.InternalServerError, lambda: create(model=model("e401"), messages=HELLO, stream=True))
        return same((error.status_code, error.code), (502, "model_unauthorized"))

    @step(f"{upstream}: a stream that was cut is an error")
    def _():
        return same(bool(raises(openai.APIError, lambda: list(create(model=model("cut"), messages=HELLO, stream=True))).message), True)

    @step(f"{upstream}: a caller that leaves in the middle")
    def _():
        stream = create(model=model("hang"), messages=HELLO, stream=True)
        first = next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
        stream.close()
        return same(first.choices[0].delta.content, "Hello ")


def responses(upstream):
    model = lambda scenario: f"{upstream}-{scenario}"
    create = client.responses.create
    tools = [{"type": "function", "strict": True, **tool["function"]} for tool in TOOLS]

    def called(response):
        calls = [item for item in response.output if item.type == "function_call"]
        return [(call.name, json.loads(call.arguments)) for call in calls]

    def results(response):
        calls = [item for item in response.output if item.type == "function_call"]
        texts = zip(calls, ["rain", "noon"])
        return [{"type": "function_call_output", "call_id": call.call_id, "output": text} for call, text in texts]

    @step(f"{upstream}: Responses")
    def _():
        answer = create(model=model("hello"), input="hello", instructions="Be brief.", max_output_tokens=50)
        same((answer.output_text, answer.status, answer.object), ("Hello to you.", "completed", "response"))
        return same((answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens), (10, 5, 15))

    @step(f"{upstream}: Responses as a stream")
    def _():
        events = list(create(model=model("hello-stream"), input="hello", stream=True))
        same((events[0].type, events[-1].type), ("response.created", "response.completed"))
        same("".join(event.delta for event in events if event.type == "response.output_text.delta"), "Hello to you.")
        same([event.sequence_number for event in events], list(range(len(events))))
        return same((events[-1].response.output_text, events[-1].response.usage.total_tokens), ("Hello to you.", 15))

    @step(f"{upstream}: Responses with tools")
    def _():
        first = create(model=model("tools-responses"), input=ASK, tools=tools)
        same(called(first), CALLS)
        last = create(model=model("tools-responses"), input=ASK + first.output + results(first), tools=tools)
        return same(last.output_text, "It rains in Paris.")

    @step(f"{upstream}: Responses with streamed arguments")
    def _():
        with client.responses.stream(model=model("tools-responses-stream"), input=ASK, tools=tools) as stream:
            fragments = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
            same(called(stream.get_final_response()), CALLS)
        return same(bool(fragments), True)

    @step(f"{upstream}: Responses of a given form")
    def _():
        answer = client.responses.parse(model=model("json"), input=ASK, text_format=Weather)
        return same(answer.output_parsed, Weather(city="Paris", rain=True))

    @step(f"{upstream}: Responses and the vendor's limit")
    def _():
        error = raises(openai.RateLimitError, lambda: create(model=model("e429-responses"), input="hello"))
        return same(error.response.headers["retry-after"], "7")

    @step(f"{upstream}: Responses that were cut")
    def _():
        def read():
            for event in create(model=model("cut"), input="hello", stream=True):
                if event.type in ("response.failed", "error"):
                    raise openai.APIError(event.type, request=None, body=None)
                assert event.type != "response.completed", "it was taken for complete"

        return same(bool(raises(openai.APIError, read).message), True)


def embeddings(upstream):
    @step(f"{upstream}: vectors as numbers")
    def _():
        answer = client.embeddings.create(model=f"{upstream}-embed", input=["a", "b"], encoding_format="float")
        same([item.embedding for item in answer.data], [[0.5, -0.25], [1.0, 2.0]])
        return same([item.index for item in answer.data], [0, 1])

    @step(f"{upstream}: vectors as the client asks for them by itself")
    def _():
        answer = client.embeddings.create(model=f"{upstream}-embed", input=["a", "b"])
        return same([list(item.embedding) for item in answer.data], [[0.5, -0.25], [1.0, 2.0]])

    @step(f"{upstream}: vectors in base64")
    def _():
        answer = client.embeddings.with_raw_response.create(model=f"{upstream}-embed", input=["a", "b"], encoding_format="base64")
        vectors = [item["embedding"] for item in json.loads(answer.text)["data"]]
        return same(vectors, ["AAAAPwAAgL4=", "AACAPwAAAEA="])


@step("the models there are")
def _():
    names = [model.id for model in client.models.list()]
    same(client.models.retrieve("chat-hello").id, "chat-hello")
    return same("gemini-tools" in names and "anthropic-hello" in names, True)


@step("a model that there is not")
def _():
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="gpt-9", messages=HELLO))
    return same((error.code, error.param), ("model_not_found", "model"))


@step("a key that nobody has")
def _():
    stranger = client.with_options(api_key="wrong")
    error = raises(openai.AuthenticationError, lambda: stranger.chat.completions.create(model="chat-hello", messages=HELLO))
    return same(error.code, "key_invalid")


@step("a parameter that makes no sense")
def _():
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model="anthropic-hello", messages=[{"role": "king"}]))
    return same((error.param or "").startswith("messages[0]"), True)


for upstream in UPSTREAMS:
    chat(upstream)
    responses(upstream)
for upstream in ["chat", "gemini"]:
    embeddings(upstream)
finish()
