// The model. In a page of your own: this script, the element with the id "model", and
//
//   const classifier = await Classifier.open(document.getElementById("model").textContent);
//   classifier.predict("a text"); // {labels, probabilities, tokens}; null where there is nothing to read
//
// Of a text that goes on where the one before ended, or that was edited somewhere, only the rest is read.
class Classifier {
  static #EMPTY = 1; // enum grunlock_error

  #wasm;
  #encoder = new TextEncoder();

  // base64: the text of the element "model"
  static async open(base64) {
    const characters = atob(base64.trim());
    const bytes = new Uint8Array(characters.length);
    for (let i = 0; i < bytes.length; ++i) {
      bytes[i] = characters.charCodeAt(i);
    }
    const { instance } = await WebAssembly.instantiate(bytes);
    return new Classifier(instance.exports);
  }

  constructor(wasm) {
    this.#wasm = wasm;
    wasm.grunlock_page_start();
    const numbers = [...Array(wasm.grunlock_page_num_classes()).keys()];
    this.labels = numbers.map((number) => this.#string(wasm.grunlock_page_label(number)));
  }

  // probabilities[i] is that of labels[i]. Throws RangeError for a text that is longer than the model reads.
  predict(text) {
    const most = 3 * text.length; // bytes of UTF-8 for a unit of UTF-16
    const place = this.#wasm.grunlock_page_room(most) >>> 0;
    if (place === 0) {
      throw new RangeError("There is no memory for a text of this length.");
    }
    const { written } = this.#encoder.encodeInto(text, new Uint8Array(this.#wasm.memory.buffer, place, most));
    const error = this.#wasm.grunlock_page_answer(written);
    if (error === Classifier.#EMPTY) {
      return null;
    }
    if (error !== 0) {
      throw new RangeError("The text is longer than this model reads.");
    }
    const found = this.#wasm.grunlock_page_probabilities();
    return {
      labels: this.labels,
      probabilities: new Float32Array(this.#wasm.memory.buffer, found, this.labels.length).slice(),
      tokens: this.#wasm.grunlock_page_num_tokens(),
    };
  }

  #string(place) {
    const bytes = new Uint8Array(this.#wasm.memory.buffer);
    return new TextDecoder().decode(bytes.subarray(place, bytes.indexOf(0, place)));
  }
}
