// Where the chunks of a store lie, and who may be asked.

/** @typedef {{ S3?: S3, S3Compatible?: S3, Tigris?: S3, Gcs?: object, Azure?: { account?: string }, Http?: object } | string} Service */
/** @typedef {{ region?: string | null, endpoint_url?: string | null }} S3 */
/** @typedef {{ name?: string | null, url_prefix: string, store: Service }} Container */

/**
 * The address by which a browser reaches what a container's prefix names; `undefined` where there is none (a disk, a service that is
 * not known).
 *
 * @param {Container} container
 */
export function webAddress({ url_prefix: prefix, store }) {
  if (/^https?:\/\//.test(prefix)) return prefix;
  const [, scheme, bucket, rest] = /^(s3|gs|gcs|az|azure|abfs):\/\/([^/]+)\/?(.*)$/.exec(prefix) ?? [];
  if (!scheme || typeof store !== "object") return undefined;
  const s3 = store.S3 ?? store.S3Compatible ?? store.Tigris;
  if (scheme === "s3" && s3?.endpoint_url) return `${s3.endpoint_url.replace(/\/$/, "")}/${bucket}/${rest}`;
  // Names with dots have no certificate of their own.
  if (scheme === "s3" && s3) return bucket.includes(".") ? `https://s3.${s3.region ?? "us-east-1"}.amazonaws.com/${bucket}/${rest}` : `https://${bucket}.s3.${s3.region ?? "us-east-1"}.amazonaws.com/${rest}`;
  if (scheme.startsWith("g")) return `https://storage.googleapis.com/${bucket}/${rest}`;
  return store.Azure?.account ? `https://${store.Azure.account}.blob.core.windows.net/${bucket}/${rest}` : undefined;
}

/** Leads from references to addresses. */
export class Places {
  #containers;
  #sources;
  #allowed;

  /**
   * @param {readonly Container[]} containers of the repository
   * @param {Record<string, string>} sources other addresses of containers, by name or prefix
   * @param {readonly string[] | true} allowed prefixes of addresses that may be asked
   */
  constructor(containers, sources, allowed) {
    this.#containers = containers;
    this.#sources = sources;
    this.#allowed = allowed;
  }

  /** The containers, with the addresses by which they are reached. */
  list() {
    return this.#containers.map((container) => ({ name: container.name ?? "", prefix: container.url_prefix, address: this.#base(container) }));
  }

  /** @param {Container} container */
  #base(container) {
    return this.#sources[container.name ?? ""] ?? this.#sources[container.url_prefix] ?? webAddress(container);
  }

  /**
   * The address of what a reference names.
   *
   * @param {string} location `vcc://name/path`, or whole
   * @returns {string}
   */
  address(location) {
    const [, name, path] = /^vcc:\/\/([^/]*)\/(.*)$/s.exec(location) ?? [];
    const container = this.#containers.find((one) => (name === undefined ? location.startsWith(one.url_prefix) : one.name === name));
    if (!container) throw new Error(`no container of the store has ${location}`);
    const rest = path ?? location.slice(container.url_prefix.length);
    const base = this.#base(container);
    if (base === undefined) throw new Error(`${container.url_prefix} cannot be reached from here: give its address in sources, by the name ${JSON.stringify(container.name ?? container.url_prefix)}`);
    const prefix = new URL(base.endsWith("/") ? base : `${base}/`);
    // A name may have these, an address may not.
    const url = new URL(prefix.href + rest.replace(/^\/+/, "").replaceAll("?", "%3F").replaceAll("#", "%23"));
    if (!url.href.startsWith(prefix.href)) throw new Error(`${location} leads out of its container`);
    const given = this.#sources[container.name ?? ""] ?? this.#sources[container.url_prefix];
    const allowed = this.#allowed;
    if (given === undefined && allowed !== true && !allowed.some((one) => within(url, one))) {
      throw new Error(`the store's chunks lie at ${prefix.href}, which was not allowed: allow: [${JSON.stringify(prefix.href)}]`);
    }
    return url.href;
  }
}

/**
 * @param {URL} url
 * @param {string} allowed
 */
function within(url, allowed) {
  const { href } = new URL(allowed);
  return url.href.startsWith(href.endsWith("/") ? href : `${href}/`);
}
