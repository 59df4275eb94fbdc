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
-- Of arrays, streams and what has to do with keys aos shows large letters, of digests small ones.
local function large_hex(bytes) return codec.to_hex(bytes):upper() end
function stream.toHex(source) return large_hex(stream.toString(source)) end
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
      -- One by one: a call gives no more values than the stack has room for.
      asBytes = function() return stream.toArray(stream.fromString(bytes)) end,
    }
  end
end

-- Data and keys are texts, arrays of bytes, or functions that give one byte after the other.
local function bytes_of(given)
  if type(given) == "function" then return stream.toString(given) end
  if type(given) == "table" then return stream.toString(stream.fromArray(given)) end
  return given
end

local function shown(bytes) return digest(function() return bytes end)() end

local function shown_large(bytes)
  local all = shown(bytes)
  all.asHex = function() return large_hex(bytes) end
  return all
end

-- RFC 2104, with blocks of 128 bytes.
local function hmac_sha512(data, key)
  if #key > 128 then key = hash.sha512(key) end
  key = key .. ("\0"):rep(128 - #key)
  local function with(byte)
    return (key:gsub(".", function(letter) return string.char(letter:byte() ~ byte) end))
  end
  return hash.sha512(with(0x5c) .. hash.sha512(with(0x36) .. data))
end

local array = { fromHex = function(text) return stream.toArray(stream.fromHex(text)) end }
function array.fromString(text) return stream.toArray(stream.fromString(text)) end
function array.toString(bytes) return stream.toString(stream.fromArray(bytes)) end
function array.toHex(bytes) return large_hex(array.toString(bytes)) end
function array.concat(a, b) return table.move(b, 1, #b, #a + 1, table.move(a, 1, #a, 1, {})) end

-- What a key of so many bits has in bytes; the rest as `.hash` has it.
local function aes(text, key, iv, mode, bits, back)
  if #key * 8 ~= (bits or 128) then error("aes: the key has not " .. (bits or 128) .. " bits", 3) end
  return shown_large(hash.aes(text, key, iv or ("\0"):rep(16), mode or "CBC", back))
end

local crypto = {
  _version = "0.1.0",
  digest = {
    md2 = digest(hash.md2), md4 = digest(hash.md4), md5 = digest(hash.md5), sha1 = digest(hash.sha1),
    sha2_256 = digest(hash.sha256), sha2_512 = digest(hash.sha512), sha3_256 = digest(hash.sha3_256),
    sha3_512 = digest(hash.sha3_512), keccak256 = digest(hash.keccak256), keccak512 = digest(hash.keccak512),
    -- So many bytes, 64 unless it is said.
    blake2b = function(data, length, key)
      return shown(hash.blake2b(bytes_of(data), length or 64, key and bytes_of(key) or ""))
    end,
  },
  mac = {
    hmac_sha256 = function(data, key) return shown(hash.hmac(bytes_of(data), bytes_of(key), "sha256")) end,
    hmac_sha512 = function(data, key) return shown(hmac_sha512(bytes_of(data), bytes_of(key))) end,
    -- `sha1` unless `sha256` is asked for.
    createHmac = function(data, key, name) return shown(hash.hmac(bytes_of(data), bytes_of(key), name)) end,
  },
  kdf = {
    pbkdf2 = function(password, salt, iterations, length, name)
      return shown_large(hash.pbkdf2(bytes_of(password), bytes_of(salt), iterations, length, name))
    end,
  },
  -- Texts are filled up with zeros to whole blocks, and stay so; what is decrypted is given in hex.
  cipher = {
    aes = {
      encrypt = function(data, key, iv, mode, bits) return aes(data, key, iv, mode, bits, false) end,
      decrypt = function(data, key, iv, mode, bits) return aes(codec.from_hex(data), key, iv, mode, bits, true) end,
    },
  },
  utils = { hex = { stringToHex = codec.to_hex, hexToString = codec.from_hex }, stream = stream, array = array },
  hex = { encode = codec.to_hex, decode = codec.from_hex },
  base64 = { encode = codec.to_base64, decode = codec.from_base64 },
  base64url = { encode = codec.to_base64url, decode = codec.from_base64url },
  -- A whole number from `least` to `most`, both of them among it, by chance of the assignment.
  random = function(least, most, seed)
    if seed ~= nil then error("random: it cannot be sown; `.chance` can", 2) end
    return math.random(least or 0, most or 0x7fffffff)
  end,
  -- Bytes all: the key's 32, the signature's 64, the message's.
  ed25519 = { verify = hash.ed25519_verify },
}

return crypto
