"""What the gateway does with an answer before the application has any of it, as one Lua program (pure).

The whole answer is waited for, so that one that breaks off or is too large never arrives as a good one that is cut. A
schema is compiled to functions that walk the decoded answer; `hostguard.policy.json_schema` says what it may hold.

The other way is a validator of its own that the proxy asks (ext_proc). It could use a library that knows all of JSON
Schema. Measured, it costs 1 to 1.5 ms for each answer and holds 1,000 answers a second for each core, where Lua costs
0.05 ms; and it is one more daemon, whose end is the end of every provider. What Lua can't check is refused when the
policy is read, by its keyword, so nobody relies on it. Lua takes 41 ms of the worker for each MiB: hence
`validate_max`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.policy.gateway import Payload
from hostguard.policy.json_schema import by_pointer, escaped

# A compiled trace needs memory that is written, then executed. Under MemoryDenyWriteExecute= that is a panic of the
# whole proxy, set off by ordinary answers as soon as a loop is hot. Nothing may stand before this line.
HEAD = "if jit then jit.off() end\n"

# RFC 8259, and stricter where parsers differ: UTF-8, no name twice, no lone surrogate, 64 levels, finite numbers.
DECODER = r"""
local find, sub, gsub, byte, char, match = string.find, string.sub, string.gsub, string.byte, string.char, string.match
local KIND = {}
local NULL = {[KIND] = "null"}
local function refuse(why) error({why = why}, 0) end

local function kind(v)
  local t = type(v)
  return t == "table" and v[KIND] or t
end

local function utf8(code)
  if code < 0x80 then return char(code) end
  if code < 0x800 then return char(0xC0 + math.floor(code / 64), 0x80 + code % 64) end
  if code < 0x10000 then
    return char(0xE0 + math.floor(code / 4096), 0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
  end
  return char(0xF0 + math.floor(code / 262144), 0x80 + math.floor(code / 4096) % 64,
    0x80 + math.floor(code / 64) % 64, 0x80 + code % 64)
end

-- Longer forms first; each is replaced by one letter, so that what is left of a broken one stays broken.
local FORMS = {
  "\240[\144-\191][\128-\191][\128-\191]", "[\241-\243][\128-\191][\128-\191][\128-\191]",
  "\244[\128-\143][\128-\191][\128-\191]", "\224[\160-\191][\128-\191]", "[\225-\236][\128-\191][\128-\191]",
  "\237[\128-\159][\128-\191]", "[\238-\239][\128-\191][\128-\191]", "[\194-\223][\128-\191]",
}
local function is_utf8(text)
  for _, form in ipairs(FORMS) do
    if not find(text, "[\128-\255]") then return true end
    text = gsub(text, form, "?")
  end
  return not find(text, "[\128-\255]")
end

local function length(text)
  return #gsub(text, "[\128-\191]", "")
end

local ESCAPES = {
  ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t",
}
local function unescaped(s, i)
  local plain = ESCAPES[sub(s, i, i)]
  if plain then return plain, i + 1 end
  local code = tonumber(match(s, "^u(%x%x%x%x)", i) or "", 16)
  if not code then refuse("an escape that JSON does not have") end
  if code < 0xD800 or code > 0xDFFF then return utf8(code), i + 5 end
  local low = tonumber(match(s, "^\\u([dD][c-fC-F]%x%x)", i + 5) or "", 16)
  if code > 0xDBFF or not low then refuse("half a surrogate pair") end
  return utf8(0x10000 + (code - 0xD800) * 1024 + low - 0xDC00), i + 11
end

local function str(s, i)
  local parts, from = nil, i + 1
  while true do
    local at = find(s, '["\\%z\1-\31]', from)
    if not at then refuse("a string without its end") end
    local c = byte(s, at)
    if c == 34 then
      local last = sub(s, from, at - 1)
      if not parts then return last, at + 1 end
      parts[#parts + 1] = last
      return table.concat(parts), at + 1
    end
    if c ~= 92 then refuse("a control character in a string") end
    parts = parts or {}
    parts[#parts + 1] = sub(s, from, at - 1)
    parts[#parts + 1], from = unescaped(s, at + 1)
  end
end

local function skip(s, i)
  return find(s, "[^ \t\r\n]", i) or refuse("JSON that ends early")
end

local function number(s, i)
  local text = match(s, "^%-?%d+%.%d+[eE][+-]?%d+", i) or match(s, "^%-?%d+[eE][+-]?%d+", i)
    or match(s, "^%-?%d+%.%d+", i) or match(s, "^%-?%d+", i)
  if not text or find(text, "^%-?0%d") then refuse("no JSON value") end
  local n = tonumber(text)
  if not n or n - n ~= 0 then refuse("a number too large to be read") end
  return n, i + #text
end

local value
local function object(s, i, depth)
  local o = {[KIND] = "object"}
  i = skip(s, i + 1)
  if byte(s, i) == 125 then return o, i + 1 end
  while true do
    if byte(s, i) ~= 34 then refuse("a member without a name") end
    local name
    name, i = str(s, i)
    i = skip(s, i)
    if byte(s, i) ~= 58 then refuse("a member without a colon") end
    if o[name] ~= nil then refuse("a member twice") end
    o[name], i = value(s, skip(s, i + 1), depth)
    i = skip(s, i)
    local c = byte(s, i)
    if c == 125 then return o, i + 1 end
    if c ~= 44 then refuse("an object without a comma") end
    i = skip(s, i + 1)
  end
end

local function array(s, i, depth)
  local a, n = {[KIND] = "array"}, 0
  i = skip(s, i + 1)
  if byte(s, i) == 93 then return a, i + 1 end
  while true do
    n = n + 1
    a[n], i = value(s, i, depth)
    i = skip(s, i)
    local c = byte(s, i)
    if c == 93 then return a, i + 1 end
    if c ~= 44 then refuse("an array without a comma") end
    i = skip(s, i + 1)
  end
end

function value(s, i, depth)
  local c = byte(s, i)
  if depth == 64 and (c == 123 or c == 91) then refuse("nested deeper than 64") end
  if c == 123 then return object(s, i, depth + 1) end
  if c == 91 then return array(s, i, depth + 1) end
  if c == 34 then return str(s, i) end
  if sub(s, i, i + 3) == "true" then return true, i + 4 end
  if sub(s, i, i + 4) == "false" then return false, i + 5 end
  if sub(s, i, i + 3) == "null" then return NULL, i + 4 end
  return number(s, i)
end

local function decode(text)
  if not is_utf8(text) then refuse("no UTF-8") end
  local it, i = value(text, skip(text, 1), 0)
  if find(text, "[^ \t\r\n]", i) then refuse("more after the value's end") end
  return it
end

-- Alternatives within alternatives could be tried for ever: a provider chooses how deep its answer is.
local left
local function spend()
  left = left - 1
  if left < 0 then refuse("too much to check") end
end
"""

# An error that is not caught here would let the answer through. The answer's own words get into no log and no header.
ANSWER = r"""
local function judged(h, judge)
  local body = h:body(true)
  local good, wrong = pcall(judge, h, body, body:length())
  if good then return end
  local why = type(wrong) == "table" and wrong.why or "the check itself failed"
  local headers, names = h:headers(), {}
  for name in pairs(headers) do names[#names + 1] = name end
  for _, name in ipairs(names) do
    if sub(name, 1, 1) ~= ":" then headers:remove(name) end
  end
  headers:replace(":status", "502")
  headers:replace("content-type", "application/json")
  headers:replace("x-hostguard-reason", "payload")
  local length = body:setBytes('{"error": "the gateway refused the answer of the provider"}')
  headers:replace("content-length", tostring(length))
  h:streamInfo():dynamicMetadata():set("hostguard", "refused", why)
end
"""


def source(payload: Payload) -> str:
    """The program for one provider; none may be asked for where answers are streamed."""
    if payload.stream:
        raise ValueError("an answer that is streamed can't be waited for")
    size = f'  if n > {payload.response_max} then refuse("an answer of more than {payload.response_max} bytes") end\n'
    if payload.schema is None:
        judge = "local function judge(_, _, n)\n" + size + "end\n"
        return HEAD + SHORT + ANSWER + judge + RESPONSE
    types = "".join(f"[{quoted(each.lower())}] = true, " for each in payload.types)
    judge = f"""
local TYPES = {{{types}}}
local function judge(h, body, n)
{size}  local headers = h:headers()
  local status = headers:get(":status")
  if sub(status, 1, 1) ~= "2" or status == "204" then return end
  local noted = h:streamInfo():dynamicMetadata():get("hostguard")
  if noted and noted.head then return end
  local given = headers:get("content-type")
  if given and not TYPES[match(given:lower(), "^%s*([^;%s]*)")] then return end
  if headers:get("content-encoding") then refuse("an answer in an encoding that nobody asked for") end
  if n > {payload.validate_max} then refuse("more than {payload.validate_max} bytes to check") end
  left = 1000 + 4 * n
  local wrong = C[1](decode(body:getBytes(0, n)))
  if wrong then refuse(wrong) end
end
"""
    return HEAD + DECODER + checks(payload.schema) + ANSWER + judge + RESPONSE + REQUEST


UNTOLD = 300
"""Seconds that a token is taken to be good for, where its server does not say (RFC 6749, 5.1: it should)."""
TOKENS = f"""
local function judge(h, body, n)
  local headers = h:headers()
  if sub(headers:get(":status"), 1, 1) ~= "2" then return end
  if n > 65536 then refuse("more than a token") end
  local said = decode(body:getBytes(0, n))
  if kind(said) ~= "object" then refuse("no object") end
  local token, ends = said.access_token, tonumber(said.expires_in or {UNTOLD})
  if type(token) ~= "string" or not match(token, "^[%w._~+/-]+=*$") then refuse("no token") end
  if not ends or ends < 1 or ends > 2147483647 then refuse("no end of a token") end
  headers:replace(":status", "200")
  local text = string.format('{{"access_token": "%s", "expires_in": %d}}', token, math.floor(ends))
  headers:replace("content-length", tostring(body:setBytes(text)))
end
"""


def tokens() -> str:
    """The program for a token server: Envoy gets the token and its end, or an error. An answer that it can't read it
    would write to its log, token and all, and never ask again; after an error it asks again."""
    return HEAD + DECODER + ANSWER + TOKENS + RESPONSE


SHORT = """
local sub = string.sub
local function refuse(why) error({why = why}, 0) end
"""
RESPONSE = """
function envoy_on_response(h)
  judged(h, judge)
end
"""
# An answer to HEAD has the headers of one with a body, and none.
REQUEST = """
function envoy_on_request(h)
  if h:headers():get(":method") == "HEAD" then
    h:streamInfo():dynamicMetadata():set("hostguard", "head", true)
  end
end
"""


def checks(schema: Any) -> str:
    """Lua functions C[1], C[2].. for each schema in this one, the first for the whole.

    Each takes a decoded value and returns nil, or what is wrong with it. They stand in a table: a Lua function may see
    no more than 60 locals of another, and a schema may have thousands of properties.
    """
    schemas = by_pointer(schema)
    number = {pointer: at for at, pointer in enumerate(schemas, 1)}
    parts = ["local C, KNOWN = {}, {}\n"]
    for pointer, each in schemas.items():
        lines = "".join(f"  {line}\n" for line in _function(each, pointer, number))
        parts.append(f"C[{number[pointer]}] = function(v)\n  spend()\n  local t, e = kind(v)\n{lines}end\n")
    return "".join(parts)


def _function(schema: Any, pointer: str, number: Mapping[str, int]) -> Iterator[str]:
    """The lines that check the value `v` of the kind `t`."""
    if schema is False:
        yield 'return ": nothing may stand here"'
    if not isinstance(schema, Mapping):
        return
    if "type" in schema:
        types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
        fits = " or ".join('t == "number" and v % 1 == 0' if each == "integer" else f't == "{each}"' for each in types)
        yield wrong(f"not ({fits})", f"no {' or '.join(types)}")
    for allowed in (schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if allowed is not None:
            yield wrong(f"not ({' or '.join(f'v == {literal(value)}' for value in allowed)})", "none of its values")
    yield from _guarded("number", _bounds(schema, "v", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"))
    yield from _guarded("string", _bounds(schema, "length(v)", "minLength", "maxLength"))
    yield from _guarded("object", _object(schema, pointer, number))
    yield from _guarded("array", _array(schema, pointer, number))
    if "$ref" in schema:
        yield f"e = C[{number[schema['$ref'][1:]]}](v)"
        yield "if e then return e end"
    for at in range(len(schema.get("allOf", ()))):
        yield f"e = C[{number[f'{pointer}/allOf/{at}']}](v)"
        yield "if e then return e end"
    if "anyOf" in schema:
        tried = [number[f"{pointer}/anyOf/{at}"] for at in range(len(schema["anyOf"]))]
        yield f"e = {' and '.join(f'C[{each}](v)' for each in tried)}"
        yield wrong("e", "none of its alternatives")


def _guarded(kind: str, lines: Iterator[str]) -> Iterator[str]:
    if inner := list(lines):
        yield f'if t == "{kind}" then'
        yield from (f"  {line}" for line in inner)
        yield "end"


BOUNDS = {
    "minimum": ("<", "less than"),
    "maximum": (">", "more than"),
    "exclusiveMinimum": ("<=", "no more than"),
    "exclusiveMaximum": (">=", "no less than"),
    "minLength": ("<", "shorter than"),
    "maxLength": (">", "longer than"),
    "minProperties": ("<", "fewer members than"),
    "maxProperties": (">", "more members than"),
    "minItems": ("<", "fewer items than"),
    "maxItems": (">", "more items than"),
}
"""When a value is wrong, and the words for it."""


def _bounds(schema: Mapping[str, Any], measured: str, *keywords: str) -> Iterator[str]:
    for keyword in keywords:
        if keyword in schema:
            worse, words = BOUNDS[keyword]
            yield wrong(f"{measured} {worse} {literal(schema[keyword])}", f"{words} {schema[keyword]}")


def _object(schema: Mapping[str, Any], pointer: str, number: Mapping[str, int]) -> Iterator[str]:
    for name in schema.get("required", ()):
        yield wrong(f"v[{quoted(name)}] == nil", f"no member {name}")
    for name in schema.get("properties", {}):
        own = number[f"{pointer}/properties/{escaped(name)}"]
        yield f"e = v[{quoted(name)}]"
        yield f"if e ~= nil then e = C[{own}](e) end"
        yield f"if e then return {quoted('/' + escaped(name))} .. e end"
    if schema.get("additionalProperties", True) is not True:
        known = "".join(f"[{quoted(name)}] = true, " for name in schema.get("properties", {}))
        own = number[f"{pointer}/additionalProperties"]
        yield f"KNOWN[{own}] = KNOWN[{own}] or {{[KIND] = true, {known}}}"
        yield "for k, x in pairs(v) do"
        yield f"  e = not KNOWN[{own}][k] and C[{own}](x)"
        yield '  if e then return "/*" .. e end'
        yield "end"
    if "minProperties" in schema or "maxProperties" in schema:
        yield "e = -1"
        yield "for _ in pairs(v) do e = e + 1 end"
        yield from _bounds(schema, "e", "minProperties", "maxProperties")


def _array(schema: Mapping[str, Any], pointer: str, number: Mapping[str, int]) -> Iterator[str]:
    yield from _bounds(schema, "#v", "minItems", "maxItems")
    if "items" in schema:
        yield "for i, x in ipairs(v) do"
        yield f"  e = C[{number[f'{pointer}/items']}](x)"
        yield '  if e then return "/" .. (i - 1) .. e end'
        yield "end"


def wrong(condition: str, why: str) -> str:
    return f"if {condition} then return {quoted(': ' + why)} end"


def literal(value: Any) -> str:
    """A plain JSON value as the decoder gives it."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quoted(value)
    return str(int(value)) if math.floor(value) == value else repr(value)


UNSAFE = frozenset(map(chr, range(32))) | {'"', "\\", "\x7f"}


def quoted(text: str) -> str:
    """A Lua string of these characters in UTF-8. No letter of it ends the string or the line."""
    safe = (chr(each) if each < 128 and chr(each) not in UNSAFE else f"\\{each:03d}" for each in text.encode())
    return '"' + "".join(safe) + '"'
