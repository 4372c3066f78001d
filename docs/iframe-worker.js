// Search from files: a page of file: may start no Worker, so that the theme's search runs in a hidden frame instead.
// The frame stands for the worker as far as the search asks: messages both ways, and importScripts as a promise.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.documentElement.append(frame);
      this.scope = frame.contentWindow;
      this.scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      this.scope.importScripts = (...urls) => Promise.all(urls.map((one) => this.load(one)));
      this.isReady = this.load(url);
    }
    load(url) {
      const script = this.scope.document.createElement("script");
      script.src = new URL(url, location.href).href;
      return new Promise((done, fail) => {
        script.onload = done;
        script.onerror = fail;
        this.scope.document.head.append(script);
      });
    }
    postMessage(data) {
      const { MessageEvent } = this.scope;
      this.isReady.then(() => this.scope.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.scope.frameElement.remove();
    }
  };
}
