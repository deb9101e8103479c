import { Decoder } from "../client.js"; globalThis.Decoder = Decoder;
