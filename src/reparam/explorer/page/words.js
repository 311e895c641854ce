// The words of the field, plain to a student.
import { h } from "./dom.js";

const WORDS = [
  ["Latent space", "The few numbers z that the model uses to describe a datum. It chose their meaning itself."],
  ["Prior p(z)", "Which z the model expects before it has seen anything. Samples of the model begin here."],
  ["Decoder, p(x|z)", "What the model expects to see if the cause is z: a distribution over data, with a mean and with noise."],
  ["Encoder, q(z|x)", "What the encoder believes about z after it has seen x: a cloud around a mean, wide where x says little."],
  ["Posterior", "What one should believe about z after having seen x, by the prior and the decoder. q(z|x) stands in for it."],
  ["log p(x)", "The logarithm of the probability, or density, that the model gives to x. Differences count: one nat more is 2.7 times as probable."],
  ["ELBO, the bound", "Reconstruction minus KL. It never exceeds log p(x), and training raises it."],
  ["Reconstruction", "The mean of log p(x|z) over q(z|x): how well the code brings the datum back."],
  ["KL", "A distance between two distributions in nats, zero only if they are one. Here: what the code of a datum costs."],
  ["Nat", "A unit of information, 1.44 bits."],
  ["Manifold", "The surface in the space of data that the decoder makes of the latent space."],
  ["Temperature", "A factor on the distance from the prior's mean. Below 1, samples are more typical and less various."],
  ["Dead dimension", "A dimension whose posterior is the prior for every datum: the decoder does without it."],
];

export function words() {
  return { when: "", draw: () => null, element: h("dl", { class: "words" }, WORDS.flatMap(([word, text]) => [h("dt", {}, word), h("dd", {}, text)])) };
}
