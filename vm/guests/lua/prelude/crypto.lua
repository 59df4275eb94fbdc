-- `.crypto`: hashes, codings and signatures, under the names that programs of aos use.
local hash, codec = require(".hash"), require(".codec")

-- A function that gives one byte after the other, as some digests of aos take their data.
local stream = {}

function stream.fromString(text)
  local place = 0
  return function()
    place = place + 1
    return text:byte(place)
  end
end
function stream.fromHex(text) return stream.fromString(codec.from_hex(text)) end
function stream.fromArray(bytes)
  local place = 0
  return function()
    place = place + 1
    return bytes[place]
  end
end
function stream.toString(source)
  local parts = {}
  for byte in source do parts[#parts + 1] = string.char(byte) end
  return table.concat(parts)
end
function stream.toHex(source) return codec.to_hex(stream.toString(source)) end
function stream.toArray(source)
  local bytes = {}
  for byte in source do bytes[#bytes + 1] = byte end
  return bytes
end

local function digest(fn)
  return function(data)
    local bytes = fn(type(data) == "function" and stream.toString(data) or data)
    return {
      asString = function() return bytes end,
      asHex = function() return codec.to_hex(bytes) end,
      asBytes = function() return { bytes:byte(1, -1) } end,
    }
  end
end

-- RFC 2104.
local function hmac(fn, block)
  return function(data, key)
    if #key > block then key = fn(key) end
    key = key .. ("\0"):rep(block - #key)
    local function with(byte)
      return (key:gsub(".", function(letter) return string.char(letter:byte() ~ byte) end))
    end
    return fn(with(0x5c) .. fn(with(0x36) .. data))
  end
end

local crypto = {
  _version = "0.1.0",
  digest = {
    sha2_256 = digest(hash.sha256), sha2_512 = digest(hash.sha512), sha3_256 = digest(hash.sha3_256),
    sha3_512 = digest(hash.sha3_512), keccak256 = digest(hash.keccak256), keccak512 = digest(hash.keccak512),
  },
  mac = {},
  utils = { hex = { stringToHex = codec.to_hex, hexToString = codec.from_hex }, stream = stream },
  hex = { encode = codec.to_hex, decode = codec.from_hex },
  base64 = { encode = codec.to_base64, decode = codec.from_base64 },
  base64url = { encode = codec.to_base64url, decode = codec.from_base64url },
  -- Bytes all: the key's 32, the signature's 64, the message's.
  ed25519 = { verify = hash.ed25519_verify },
}
for name, parts in pairs({ hmac_sha256 = { hash.sha256, 64 }, hmac_sha512 = { hash.sha512, 128 } }) do
  local compute = hmac(parts[1], parts[2])
  crypto.mac[name] = function(data, key)
    return digest(function() return compute(data, key) end)(data)
  end
end

return crypto
