"""What requests may say: the fields of OpenAI's chat completions that the server takes, and those of grounding.

A field that would change the answer and is not supported is refused, unless its value is the one that changes nothing.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from geochat.serving.errors import APIError, bad_request

IGNORED = (
    *('user', 'metadata', 'store', 'service_tier', 'parallel_tool_calls'),
    *('safety_identifier', 'prompt_cache_key', 'prompt_cache_retention'),
)
"""Fields of a chat completion that are taken and have no effect: they change nothing, or are sent by habit."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    'frequency_penalty': (0,),
    'presence_penalty': (0,),
    'top_logprobs': (0,),
    'logit_bias': ({},),
    'tools': ([],),
    'tool_choice': ('none', 'auto'),
    'functions': ([],),
    'function_call': ('none', 'auto'),
    'response_format': ({'type': 'text'},),
    'modalities': (['text'],),
}
"""Fields of a chat completion that are not supported, and their values that change nothing; null does neither."""

IGNORED_IN_MESSAGES = ('name', 'refusal', 'annotations', 'audio', 'function_call', 'tool_calls')
"""Fields of a message that are taken if they are empty, as in an answer that is sent back; a name in any case."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, strict=True)


class ImageURL(_Strict):
    """A picture: a data URL. ``detail`` has no effect: every picture is prepared as the model was trained."""

    url: str
    detail: Literal['auto', 'low', 'high', 'original'] | None = None


class TextPart(_Strict):
    """Words of a message."""

    type: Literal['text']
    text: str


class ImagePart(_Strict):
    """A picture of a message."""

    type: Literal['image_url']
    image_url: ImageURL


class ChatMessage(_Strict):
    """A message of a dialogue: words, or parts that are words and pictures."""

    role: Literal['system', 'developer', 'user', 'assistant']
    content: list[Annotated[TextPart | ImagePart, Field(discriminator='type')]]

    @model_validator(mode='before')
    @classmethod
    def _without_empty_fields(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        empty = {key for key in IGNORED_IN_MESSAGES if key == 'name' or not values.get(key)}
        return {key: value for key, value in values.items() if key not in empty}

    @field_validator('content', mode='before')
    @classmethod
    def _as_parts(cls, value: Any) -> Any:
        return [{'type': 'text', 'text': value}] if isinstance(value, str) else value


class StreamOptions(_Strict):
    """What a stream also tells; chunks are never padded, so ``include_obfuscation`` has no effect."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatRequest(_Strict):
    """The body of a chat completion."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0.0, ge=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    n: int = Field(1, ge=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: list[str] = Field([], max_length=4)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    logprobs: bool = False

    @model_validator(mode='before')
    @classmethod
    def _without_what_changes_nothing(cls, values: Any) -> Any:
        """Leave out what has no effect: null, ignored fields, and those not supported at their neutral value."""
        if not isinstance(values, dict):
            return values
        for key, neutral in NEUTRAL.items():
            if values.get(key) is not None and values[key] not in neutral:
                raise ValueError(f'{key} is not supported; leave it out')
        dropped = {*IGNORED, *NEUTRAL}
        return {key: value for key, value in values.items() if key not in dropped and value is not None}

    @field_validator('stop', mode='before')
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator('stop')
    @classmethod
    def _not_empty(cls, value: list[str]) -> list[str]:
        if not all(value):
            raise ValueError('an empty text would stop every answer before it begins')
        return value


class GroundRequest(_Strict):
    """The body of a grounding request: where on a picture is what a phrase describes?"""

    image: str
    phrase: str = Field(min_length=1)
    model: str | None = None
    max_tokens: int | None = Field(None, ge=1)

    @field_validator('phrase')
    @classmethod
    def _has_words(cls, value: str) -> str:
        if not value.strip():
            raise ValueError('there are no words in it')
        return value


Body = TypeVar('Body', bound=BaseModel)


def read_body(kind: type[Body], body: bytes) -> Body:
    """Read a request's body.

    Raises:
        APIError: If it is not JSON, or a field is missing, unknown or has a value that it cannot have; the message
            names the field.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise _told(error) from None


def _told(error: ValidationError) -> APIError:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first['type'] == 'json_invalid':
        return bad_request(f'the body is not JSON: {first["msg"].removeprefix("Invalid JSON: ")}', code='invalid_json')
    place = _place(first['loc'])
    message = first['msg'].removeprefix('Value error, ')
    if first['type'] == 'extra_forbidden':
        return bad_request(f'unknown field {place!r}', place, 'unknown_parameter')
    if first['type'] == 'missing':
        return bad_request(f'the field {place!r} is missing', place, 'missing_required_parameter')
    return bad_request(f'{place}: {message}' if place else message, place or None)


def _place(loc: tuple[int | str, ...]) -> str:
    """Write a place as OpenAI does, ``messages[0].content``, without the kind of a part, which follows its number."""
    place = ''
    for number, step in enumerate(loc):
        if isinstance(step, int):
            place += f'[{step}]'
        elif not ('content' in loc[:number] and isinstance(loc[number - 1], int)):
            place += f'.{step}' if place else step
    return place
